"""An SMTP server for tests: server.py PORT FILE

Writes each mail that it takes as a line of JSON to FILE. It refuses, for good, recipients whose address begins with "refused",
for good until there is a file FILE.taken, those whose address begins with "shut", and for now, those whose address begins with
"later" and who come for the first time. A mail to an address that begins with "slow"
is written at once, and taken once there is a file FILE.taken; after a minute without one it is refused for now.
"""

import asyncio
import json
import os
import sys
import threading
from email import policy
from email.parser import BytesParser

from aiosmtpd.controller import Controller


# Seconds.
PATIENCE = 60


class Mailbox:
    def __init__(self, path):
        self.path = path
        self.seen = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            return "550 5.1.1 there is nobody of this name"
        if address.startswith("shut") and not self.is_told():
            return "550 5.2.1 the mailbox is shut"
        if address.startswith("later") and address not in self.seen:
            self.seen.add(address)
            return "451 4.7.1 come again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = BytesParser(policy=policy.default).parsebytes(envelope.content)
        line = {
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "text": mail.get_body(("plain",)).get_content(),
            "html": mail.get_body(("html",)).get_content(),
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if any(address.startswith("slow") for address in envelope.rcpt_tos):
            return await self.taken()
        return "250 OK"

    def is_told(self):
        return os.path.exists(self.path + ".taken")

    async def taken(self):
        for _ in range(PATIENCE * 20):
            if self.is_told():
                return "250 OK"
            await asyncio.sleep(0.05)
        return "451 4.3.0 nobody has said that it is taken"


port, path = int(sys.argv[1]), sys.argv[2]
Controller(Mailbox(path), hostname="127.0.0.1", port=port).start()
print("ready", flush=True)
threading.Event().wait()
