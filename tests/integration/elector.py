"""A process that takes part in an election, for tests that stop, freeze or kill it.

Prints `gained` and `lost`, and `writes` whenever it would be allowed to write, as a busy leader would, with the
monotonic time at which it asked whether it may.
"""

import asyncio
import contextlib
import signal
import ssl
import sys
import time

from serinus.kube.client import open_cluster
from serinus.kube.credentials import Credentials
from serinus.shell.leadership import Leadership, LeaseTerms


async def main(server: str, pki: str, namespace: str, identity: str, duration_seconds: str) -> None:
    duration = float(duration_seconds)
    terms = LeaseTerms(namespace, "serinus", duration, renew_deadline_seconds=0.7 * duration, retry_seconds=0.3)
    tls = ssl.create_default_context(cafile=f"{pki}/ca.crt")
    tls.load_cert_chain(f"{pki}/admin.crt", f"{pki}/admin.key")
    async with open_cluster(Credentials(server, tls)) as cluster:
        leadership = Leadership(
            cluster,
            terms,
            identity,
            on_gained=lambda: print("gained", flush=True),
            on_lost=lambda why: print("lost", why, flush=True),
        )
        task = asyncio.create_task(leadership.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            while not task.done():
                asked_at = time.monotonic()
                if leadership.leading:
                    print("writes", asked_at, flush=True)
                await asyncio.sleep(0.01)
            await task


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
