"""Ray on the driver's side: engines, the relay that lends their slots, Tune. No torch here."""
