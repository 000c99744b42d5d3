"""What crosses processes in a round, and when: messages, schedule, protocols of workers and
servers, recovery."""
