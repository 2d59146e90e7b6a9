"""What is made for those who install cryofs: manual pages, and the trial of a wheel."""
