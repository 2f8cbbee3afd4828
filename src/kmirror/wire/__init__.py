"""Kafka's bytes: connections, record batches, Fetch and Produce packed by hand, all other requests by kafka-python."""
