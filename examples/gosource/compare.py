"""Compare the answers and the outputs of tally with the recount. Ends with 1 when they differ.

Usage: compare.py expected.tsv scan.jsonl outputs.jsonl LINES
"""
import json
import sys

expected_path, scan_path, outputs_path, lines = sys.argv[1:]
differences = []


def compare(what, got, want):
    for group in got.keys() | want.keys():
        if got.get(group) != want.get(group):
            differences.append(f"{what} of {group}: {got.get(group)}, recounted {want.get(group)}")


expected = {}
for line in open(expected_path, encoding="utf-8", newline="\n"):
    *group, count = line.rstrip("\n").split("\t")
    expected[tuple(group)] = int(count)
by_word = len(group) == 1

answers, complete = {}, False
for line in open(scan_path, encoding="utf-8"):
    answer = json.loads(line)
    if "group" in answer:
        answers[tuple(answer["group"])] = answer["values"]["count"]
    complete = answer.get("end", False)
if not complete:
    differences.append("the scan did not end")
compare("the answer", answers, expected)

# Counted by package, a word has a counter in each partition that its package's lines lie in; by word
# alone it has one, and the output's key is the group as JSON.
counters, outputs = {}, 0
for line in open(outputs_path, encoding="utf-8"):
    record = json.loads(line)
    value = json.loads(record["value"])
    group = tuple(json.loads(record["key"])) if by_word else (record["key"], value["item"])
    counter = record["partition"], group
    if value["count"] <= counters.get(counter, 0):
        differences.append(f"the output {counter} does not rise: {value['count']} after {counters[counter]}")
    counters[counter] = value["count"]
    outputs += 1
last = {}
for (partition, group), count in counters.items():
    if by_word and group in last:
        differences.append(f"{group} has outputs in several partitions, one of them {partition}")
    last[group] = last.get(group, 0) + count
compare("the last output", last, expected)

for difference in differences[:20]:
    print(difference)
print(f"{'exact' if not differences else 'wrong'}: {lines} lines, {sum(expected.values())} words, "
      f"{len(expected)} groups, {outputs} outputs, {len(differences)} differences")
sys.exit(1 if differences else 0)
