"""Adds up the pieces and the money for each item of the orders on standard input."""

import csv
import json
import sys
from decimal import Decimal

totals = {}
for _, item, pieces, price in csv.reader(sys.stdin):
    pieces_before, money_before = totals.get(item, (0, Decimal(0)))
    totals[item] = (pieces_before + int(pieces), money_before + int(pieces) * Decimal(price))

items = [{"item": item, "pieces": n, "money": f"{money:.2f}"} for item, (n, money) in sorted(totals.items())]
print(json.dumps({"items": items}))
