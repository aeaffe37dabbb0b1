"""KuaiRand-Pure, with click histories by day (`dataset.name=kuairand`)."""
