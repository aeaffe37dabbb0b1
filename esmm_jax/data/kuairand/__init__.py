"""`dataset.name=kuairand`: KuaiRand-Pure, with click histories by day."""
