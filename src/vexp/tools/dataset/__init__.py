"""``vexp dataset``: index, check, convert and list whole collections of videos before training.

A job processes one video. Jobs run in worker processes (``vexp.core.worker_pool``). Interrupted work is resumed
(``journal``, ``conversion``), and files and folders are written atomically.
"""
