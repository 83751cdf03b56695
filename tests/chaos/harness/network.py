"""Network namespaces without names, each with one TUN device, and the links between them.

Every packet that leaves a namespace goes to the relay (`relay.py`), which delays it, loses it or writes it
to the device of its destination. A namespace and its device are gone when the last process in it and the
last descriptor of it are, so that a run that was killed leaves nothing behind.
"""

import ctypes
import fcntl
import json
import os
import pathlib
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFADDR, SIOCSIFNETMASK, SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8916, 0x891C, 0x8913, 0x8914
IFF_UP = 0x1
DEVICE = "wire"
NETMASK = "255.255.255.0"
# An acknowledgement of the relay comes within this.
ACKNOWLEDGED_S = 5


class NotHere(Exception):
    """This machine can't make such a network: it lacks TUN devices, or the rights for them."""


def checked(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Namespace:
    """A namespace whose device has these addresses."""

    def __init__(self, name, *addresses):
        self.name, self.addresses = name, addresses
        self.failure = None
        # A thread of its own is moved into the new namespace; all others stay where they are.
        thread = threading.Thread(target=self._make)
        thread.start()
        thread.join()
        if self.failure:
            raise NotHere(f"no network namespace with a TUN device: {self.failure}") from self.failure

    def _make(self):
        try:
            checked(LIBC.unshare(CLONE_NEWNET))
            self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            request = struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(self.device, TUNSETIFF, request)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                bring_up(control, "lo")
                for number, address in enumerate(self.addresses):
                    # Further addresses belong to aliases of the device.
                    alias = DEVICE if number == 0 else f"{DEVICE}:{number}"
                    set_address(control, SIOCSIFADDR, alias, address)
                    set_address(control, SIOCSIFNETMASK, alias, NETMASK)
                bring_up(control, DEVICE)
        except OSError as error:
            self.failure = error

    def enter(self):
        """Moves the calling thread there, and the threads and processes that it starts afterwards."""
        checked(LIBC.setns(self.descriptor, CLONE_NEWNET))

    def start(self, command, **keywords):
        """A process there, which ends with this one. Only for the main thread."""
        def prepare():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            self.enter()

        return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                preexec_fn=prepare, **keywords)


def bring_up(control, device):
    request = struct.pack("16sH22x", device.encode(), 0)
    flags = struct.unpack("16sH22x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", device.encode(), flags | IFF_UP))


def set_address(control, call, device, address):
    inet = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
    fcntl.ioctl(control, call, struct.pack("16s16s8x", device.encode(), inet))


class Network:
    """The relay between the namespaces, and what it does to packets from one address to another."""

    def __init__(self, namespaces, seed):
        script = pathlib.Path(__file__).with_name("relay.py")
        devices = [space.device for space in namespaces]
        nodes = [f"{space.device}={','.join(space.addresses)}" for space in namespaces]
        self.process = subprocess.Popen([sys.executable, script, str(seed), *nodes], pass_fds=devices,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        self.replies = selectors.DefaultSelector()
        self.replies.register(self.process.stdout, selectors.EVENT_READ)

    def ask(self, **order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        if not self.replies.select(ACKNOWLEDGED_S):
            raise SystemExit("the relay does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the relay has ended")
        return json.loads(line)

    def weather(self, **link):
        """How every link is that has no rule of its own; see `relay.Link`."""
        self.ask(weather=link)

    def cut(self, sources, destinations):
        """Nothing passes from the one to the other; the way back stays open."""
        self.ask(cut=[[one, other] for one in sources for other in destinations])

    def part(self, ones, others):
        """Nothing passes between the one and the other, either way."""
        self.cut(ones, others)
        self.cut(others, ones)

    def heal(self):
        """Everything passes again."""
        self.ask(heal=True)

    def counts(self):
        """Packets that passed, that were lost by chance, and that met a cut."""
        return self.ask(counts=True)

    def stop(self):
        self.process.kill()
        self.process.wait()
