"""Scores and tags a comment by the words of a lexicon. Words of ASCII letters count where they stand alone; others,
as in Japanese, which has no blanks, wherever they stand."""

import json
import os
import re
import sys
import unicodedata

score, tags = 0, set()
comment = json.load(sys.stdin)
text = unicodedata.normalize("NFKC", f"{comment.get('title') or ''}\n{comment['body']}").lower()
with open(os.path.join(os.path.dirname(__file__), "lexicon.tsv"), encoding="utf-8") as lexicon:
    for line in lexicon:
        if line.startswith("#"):
            continue
        word, weight, tag = line.rstrip("\n").split("\t")
        pattern = rf"(?<![a-z]){word}(?![a-z])" if word.isascii() else re.escape(word)
        found = len(re.findall(pattern, text))
        score += found * int(weight)
        if found:
            tags.add(tag)

japanese = re.search("[\u3040-\u30ff\u3400-\u9fff]", text)
print(json.dumps({
    "comment_id": comment["comment_id"],
    "author_id": comment["author_id"],
    "language": "ja" if japanese else "en",
    "score": score,
    "tags": sorted(tags),
}))
