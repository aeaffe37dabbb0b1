"""Ali-CCP from its official files (`dataset.name=ali_ccp`)."""
