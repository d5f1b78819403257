"""Recount the words of Go source with nothing of tally: prints package, word, count; or word, count.

A word is a longest run of code points of the Unicode categories L, N or M that begins with L or N,
each mapped by simple lower-casing. Usage: recount.py [--by-word] [GOROOT/src]
"""
import collections, os, sys, unicodedata

kind = {c: unicodedata.category(chr(c))[0] for c in range(sys.maxunicode + 1)}
marks = "".join(chr(c) for c, k in kind.items() if k == "M")
# [0] makes lower-casing simple: "İ".lower() is two code points, its simple mapping is "i"
table = {c: chr(c).lower()[0] if k in "LNM" else " " for c, k in kind.items()}

counts = collections.Counter()
by_word = sys.argv[1:2] == ["--by-word"]
root = (sys.argv[1 + by_word :] or ["/usr/local/go/src"])[0]
for folder, _, names in os.walk(root):
    for path in (os.path.join(folder, name) for name in names if name.endswith(".go")):
        package = os.path.relpath(folder, root)
        for line in open(path, encoding="utf-8", newline="\n"):
            words = (word.lstrip(marks) for word in line.translate(table).split())
            counts.update((word,) if by_word else (package, word) for word in words if word)
for group, n in sorted(counts.items()):
    print(*group, n, sep="\t")
