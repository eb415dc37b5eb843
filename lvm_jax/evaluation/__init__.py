"""Images and ids -> metrics -> reports."""
