"""`bench selfcheck`: whether everything holds on this machine, told in minutes and without downloads."""
