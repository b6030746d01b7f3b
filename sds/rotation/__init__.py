"""Floor 5: what happens by itself and when. Executors over pure plans; the scheduler only ticks."""
