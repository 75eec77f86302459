"""Checkpoint files: what is torn, damaged or foreign is passed over, and what stays of them."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.engine import checkpoints
from study.engine.checkpoints import Saved


def saved(steps: int, reports: int | None = None, history: int = 0) -> Saved:
    made = steps // 10 if reports is None else reports
    row = {
        "parameter/w": torch.full((50,), float(steps)),
        "step": torch.tensor(steps),
        "history": torch.ones(history, 3),
    }
    return Saved(row, [{"step": k + 1, "metrics": {"loss": 0.1 + k}} for k in range(made)])


def save(folder: Path, steps: int, *, epoch: int = 1, keep: str = "none", **more: int) -> Path:
    checkpoints.save(folder, saved(steps, **more), epoch=epoch, keep=keep)
    return folder / f"{steps:09d}-{epoch:06d}.ckpt"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def steps(folder: Path) -> int | None:
    found = checkpoints.newest(folder)
    return None if found is None else found.steps


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    save(tmp_path / "t", 20, history=7)
    found = checkpoints.newest(tmp_path / "t")
    assert found is not None
    expected = saved(20, history=7)
    assert found.reports == expected.reports
    assert all(torch.equal(found.row[name], expected.row[name]) for name in expected.row)


def test_two_stay_while_a_trial_runs_and_all_if_wanted(tmp_path: Path) -> None:
    for keep, left in (("none", 2), ("last", 2), ("all", 4)):
        for step in (10, 20, 30, 40):
            save(tmp_path / keep, step, keep=keep)
        assert len(names(tmp_path / keep)) == left
        assert steps(tmp_path / keep) == 40


def test_nothing_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert steps(tmp_path / "never made") is None
    (tmp_path / "empty").mkdir()
    assert steps(tmp_path / "empty") is None


def signed(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return sign(buffer.getvalue())


def sign(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest() + payload


FOREIGN = {
    "zero bytes": b"",
    "shorter than its checksum": b"abc",
    "another file": b"PK\x03\x04" + bytes(300),
    "zeros of its length": bytes(2500),
    "signed, no archive": sign(b"hello"),
    "signed and empty": sign(b""),
    "signed, of another shape": signed({"row": [1, 2], "reports": "[]"}),
    "signed, no reports": signed({"row": saved(30).row}),
    "signed, reports that are none": signed({"row": saved(30).row, "reports": "}{"}),
    "signed, no history": signed({"row": {"step": torch.tensor(30)}, "reports": "[]"}),
    "signed, under another's name": signed({"row": saved(31).row, "reports": "[]"}),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_checkpoint_is_passed_over(tmp_path: Path, content: bytes) -> None:
    save(tmp_path, 20)
    (tmp_path / "000000030-000001.ckpt").write_bytes(content)
    assert steps(tmp_path) == 20


def test_files_that_are_not_named_as_ours_are_left_alone(tmp_path: Path) -> None:
    save(tmp_path, 20)
    strange = ["notes.txt", "3.ckpt", "x-000001.ckpt", "000000099-000001.ckpt.bak", "model.pt"]
    for name in strange:
        (tmp_path / name).write_text("mine")
    (tmp_path / "000000090-000001.ckpt").mkdir()
    assert steps(tmp_path) == 20
    (tmp_path / "000000090-000001.ckpt").rmdir()
    checkpoints.retire(tmp_path, "none")
    assert names(tmp_path) == sorted(strange)


def test_any_tear_and_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, 20)
    newest = save(tmp_path, 30)
    whole, chance = newest.read_bytes(), random.Random(0)
    for _ in range(60):
        newest.write_bytes(whole[: chance.randrange(len(whole))])
        assert steps(tmp_path) == 20
        bit = chance.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        newest.write_bytes(flipped)
        assert steps(tmp_path) == 20
    newest.write_bytes(whole)
    assert steps(tmp_path) == 30


def test_a_checkpoint_from_elsewhere_runs_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    folder = tmp_path / "trial"
    save(folder, 20)
    for number, content in enumerate([{"row": Bomb(), "reports": "[]"}, Bomb()]):
        path = folder / f"{30 + number:09d}-000001.ckpt"
        path.write_bytes(signed(content))
        torch.load(io.BytesIO(path.read_bytes()[32:]), weights_only=False)
        assert (tmp_path / "exploded").exists(), "the charge is live"
        (tmp_path / "exploded").unlink()
    assert steps(folder) == 20
    checkpoints.retire(folder, "last")
    assert not (tmp_path / "exploded").exists()


def test_damaged_ones_of_more_steps_make_room_for_those_made_again(tmp_path: Path) -> None:
    for path in (save(tmp_path, 30), save(tmp_path, 40)):
        path.write_bytes(b"torn")
    for step in (10, 20):
        save(tmp_path, step)
        assert steps(tmp_path) == step
    assert names(tmp_path) == ["000000010-000001.ckpt", "000000020-000001.ckpt"]


def test_a_damaged_one_made_again_under_a_higher_epoch_does_not_count_as_second(
    tmp_path: Path,
) -> None:
    save(tmp_path, 20)
    save(tmp_path, 30).write_bytes(b"torn")
    newest = save(tmp_path, 30, epoch=2)
    assert names(tmp_path) == ["000000020-000001.ckpt", "000000030-000002.ckpt"]
    newest.write_bytes(b"torn too")
    assert steps(tmp_path) == 20


def test_a_higher_epochs_files_are_not_a_fenced_engines_to_remove(tmp_path: Path) -> None:
    later = [save(tmp_path, step, epoch=2).name for step in (30, 40)]
    (tmp_path / ".000000050-000002.ckpt.partial").write_bytes(b"being written")
    for step in (10, 20, 50):
        save(tmp_path, step, epoch=1)
    assert {*later, ".000000050-000002.ckpt.partial"} < set(names(tmp_path))
    for step in (60, 70):
        save(tmp_path, step, epoch=3)
    assert names(tmp_path) == ["000000060-000003.ckpt", "000000070-000003.ckpt"]


def test_what_a_killed_writer_left_beside_goes_with_the_next_save(tmp_path: Path) -> None:
    (tmp_path / ".000000010-000001.ckpt.2f9a01c4.partial").write_bytes(b"half")
    assert steps(tmp_path) is None
    save(tmp_path, 20, epoch=2, keep="all")
    assert names(tmp_path) == ["000000020-000002.ckpt"]


def test_two_engines_may_write_at_once(tmp_path: Path) -> None:
    written = save(tmp_path, 20)
    payload = written.read_bytes()[32:]

    class Rival(bytes):
        """Has another engine write the same and the next checkpoint while one is written."""

        def __radd__(self, digest: bytes) -> bytes:
            checkpoints.write(tmp_path, 20, payload, epoch=1, keep="last")
            save(tmp_path, 30)
            return digest + bytes(self)

    checkpoints.write(tmp_path, 20, Rival(payload), epoch=1, keep="last")
    assert names(tmp_path) == [written.name, "000000030-000001.ckpt"]
    assert steps(tmp_path) == 30  # the one that is behind takes nothing back


def test_what_stays_of_an_ended_trial(tmp_path: Path) -> None:
    for keep, left in (("none", []), ("last", ["000000040-000001.ckpt"]), ("all", None)):
        folder = tmp_path / keep
        for step in (20, 30, 40):
            save(folder, step, keep="all")
        (folder / ".000000050-000001.ckpt.2f9a01c4.partial").write_bytes(b"half")
        before = [name for name in names(folder) if not name.startswith(".")]
        for _ in range(2):  # a driver that dies after it may do it again
            checkpoints.retire(folder, keep)
            assert folder.exists() == (keep != "none")
            if folder.exists():
                assert names(folder) == (before if left is None else left)


def test_the_last_that_stays_is_one_that_is_whole(tmp_path: Path) -> None:
    for step in (20, 30):
        save(tmp_path, step)
    (tmp_path / "000000030-000001.ckpt").write_bytes(b"torn")
    checkpoints.retire(tmp_path, "last")
    assert names(tmp_path) == ["000000020-000001.ckpt"]


def test_retiring_leaves_what_is_not_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 20)
    (tmp_path / "model.pt").write_text("weights")
    checkpoints.retire(tmp_path, "none")
    assert names(tmp_path) == ["model.pt"]


def test_retiring_while_an_engine_begins_another_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = Path.rmdir

    def begun(folder: Path) -> None:
        (folder / ".000000030-000001.ckpt.partial").touch()
        remove(folder)

    save(tmp_path, 20)
    monkeypatch.setattr(Path, "rmdir", begun)
    checkpoints.retire(tmp_path, "none")
    assert names(tmp_path) == [".000000030-000001.ckpt.partial"]


def test_a_reports_checkpoint_is_found_by_its_number(tmp_path: Path) -> None:
    for step in (10, 20, 25, 30):
        save(tmp_path, step, keep="all", reports=step // 10, history=step % 10)
    save(tmp_path, 20, epoch=2, keep="all").write_bytes(b"torn")
    for report in (1, 2, 3):
        found = checkpoints.at(tmp_path, report)
        assert found is not None
        assert found.steps == 10 * report, "not the one inside the segment"
    assert checkpoints.at(tmp_path, 4) is None


def test_one_before_the_final_evaluation_is_not_that_of_a_report(tmp_path: Path) -> None:
    """Its training is whole, and the report that is due is not among its own yet."""
    pending = replace(saved(20), pending={"step": 3, "metrics": {"loss": 0.5}})
    checkpoints.save(tmp_path, pending, epoch=1, keep="all")
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.pending == pending.pending
    assert checkpoints.at(tmp_path, 2) is None
    assert checkpoints.at(tmp_path, 3) is None


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_checkpoints import names, save, steps
folder = Path({str(tmp_path)!r})
save(folder, 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
try:
    save(folder, 20)
except OSError as error:
    print(type(error).__name__, names(folder), steps(folder))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
save(folder, 20)
print(steps(folder))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["OSError ['000000010-000001.ckpt'] 10", "20"]


def test_a_driver_retires_checkpoints_without_torch() -> None:
    code = "import sys, study.engine.checkpoints; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
