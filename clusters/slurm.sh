#!/bin/bash
# A study on SLURM: a Ray node on each of the job's nodes, and the driver beside the first. Before its
# time limit the job suspends the study in checkpoints and goes back to the queue; there it goes on.
#
#   sbatch clusters/slurm.sh search_spaces/cifar10.yaml          # from this folder; words of `study launch`
#   sbatch --nodes=4 --gpus-per-node=4 clusters/slurm.sh FILE --home /scratch/me/studies
#   scancel --batch --signal=TERM JOB                            # suspend now, and queue again
#   scancel JOB                                                  # end; `study resume` or sbatch goes on
#
# The environment with `study` must be active when you call sbatch (SLURM hands it on). A partition
# that allows no --requeue: take the option out and call sbatch again, also after exit code 130.
#SBATCH --job-name=study
#SBATCH --nodes=2 --ntasks-per-node=1 --cpus-per-task=8 --gpus-per-node=1
#SBATCH --time=08:00:00 --signal=B:TERM@300
#SBATCH --requeue --open-mode=append --output=%x-%j.out
set -u

port=$((20000 + SLURM_JOB_ID % 10000)) # another job may share the node
# Where gRPC is installed Ray's head also serves remote clients, by default on a port that all users have.
clients=
if python -c 'import grpc' 2>/dev/null; then
  clients=--ray-client-server-port=$((30000 + SLURM_JOB_ID % 2768))
fi
# The address that this node, the job's first, will have in Ray: names may be unknown to its resolver.
head=$(python -c 'import ray; print(ray.util.get_node_ip_address())' 2>/dev/null)
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

# Ray counts all cores of the machine, whatever SLURM gives: it is told.
node="--num-cpus=$SLURM_CPUS_PER_TASK --dashboard-agent-listen-port=0 --block"
srun --kill-on-bad-exit=0 --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c "
  if [ \$SLURM_NODEID = 0 ]; then
    exec ray start --head --port=$port $clients --include-dashboard=false \
      --temp-dir=/tmp/ray-$SLURM_JOB_ID $node
  fi
  exec ray start --address=$head:$port $node" >"ray-$SLURM_JOB_ID.out" 2>&1 &
nodes=$!

suspend() {
  trap '' TERM # requeueing sends it again
  # A job that is cancelled is ending already, and SLURM has told the driver itself: a second signal
  # would have it leave without a checkpoint.
  cancelled=
  case $(squeue -h -j "$SLURM_JOB_ID" -o %T) in CANCELLED | COMPLETING) cancelled=yes ;; esac
  [ -n "$cancelled" ] || kill -TERM "$driver"
  wait "$driver"
  code=$?
  kill "$nodes"
  if [ $code = 130 ] && [ -z "$cancelled" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
  exit $code
}

until (: </dev/tcp/"$head"/$port) 2>/dev/null; do
  kill -0 $nodes 2>/dev/null || { cat "ray-$SLURM_JOB_ID.out"; exit 1; }
  sleep 1
done
study launch "$@" --address "$head:$port" &
driver=$!
trap suspend TERM # a trap does not run while the shell waits for a command in the foreground
wait $driver
code=$?
kill $nodes
exit $code
