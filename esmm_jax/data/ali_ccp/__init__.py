"""`dataset.name=ali_ccp`: Ali-CCP from its official files, memory bounded."""
