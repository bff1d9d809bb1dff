"""A round's local training in several processes of one hospital, one per GPU."""
