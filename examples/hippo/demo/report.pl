# Writes the totals on standard input as a table, the item that sold for most first.
use strict;
use warnings;
use JSON::PP;

local $/;
my $items = decode_json(<STDIN>)->{items};
for my $one (sort { $b->{money} <=> $a->{money} || $a->{item} cmp $b->{item} } @$items) {
    printf "%-8s %3d %8s\n", $one->{item}, $one->{pieces}, $one->{money};
}
