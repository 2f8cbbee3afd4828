"""Kafka's control plane: topics, their configs, offsets. The only importer of confluent_kafka.

Every call blocks, for 10 s at the most: the engine makes them in a worker thread.
"""
