"""What a page shows, as plain values: pure functions of a record and a selection, without dash."""
