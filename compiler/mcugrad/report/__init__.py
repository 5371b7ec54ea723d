"""What people read: tables on the terminal and the picture of the arena. No decisions are made here."""
