"""For workshops: is this machine ready, and one folder that installs everything without a network.

    liveavatar workshop                     looks at a participant's machine, in under a minute
    liveavatar workshop --pack FOLDER       makes the folder that participants get, on a stick or by the local network
"""

from liveavatar.workshop.machine import main
from liveavatar.workshop.pack import make_pack

__all__ = ["main", "make_pack"]
