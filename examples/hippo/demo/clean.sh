#!/bin/sh
# Prints the orders of the file that was announced: four fields in each line, items in lower case, without blanks.
set -eu
file=$(printf '%s' "$MESSAGE_PARTITION" | sed 's/.*"name":"file","value":"\([^"]*\)".*/\1/')
tr 'A-Z' 'a-z' <"$file" | tr -d ' \r' | grep -E '^[0-9]+,[a-z]+,[0-9]+,[0-9.]+$'
