"""The edge to Ray: the only place that creates actors and tasks. The classes that actors run are
plain ones."""
