"""Chaos between processes: a fleet in network namespaces, whose links lose, delay and cut packets.

`network` and `relay` are the links, `fleet` the processes, `load` and `jobs` the clients, `books` what the
simulator and Redis know. `scenarios` is what befalls the fleet, with `scenario` and `spending` for what they
have in common, and `judge` what every request must have got. `main` is the command, `report` what it prints.
"""
