"""What each command of the command line does: calls the compiler, prints through `report`."""
