"""What the server said of its audit log, remembered here: a log that is cut, or made anew, shows."""
