"""From frames to atom counts: networks, column finding, the analyser and the command line."""
