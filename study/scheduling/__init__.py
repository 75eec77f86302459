"""Ray on the driver's side: engines, the relay that assigns their slots, Tune. No torch here."""
