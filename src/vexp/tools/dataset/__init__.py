"""Work on whole collections of videos before training: index, check, convert, make lists.

``scripts/dataset.py`` is its command line. A job is one video. Jobs run in processes of their own (``parallel``), what
is done is known again after a stop (``journal``, ``conversion``), files and folders appear whole or not at all.
"""
