"""Fields that share a table: targets has the checks of them."""
