"""`doctor`: the questions with their answers, and what to type."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys

from rich.text import Text

from cni_bridge_py import __version__
from cni_bridge_py.cli.parser import called_as
from cni_bridge_py.cli.root import need_root
from cni_bridge_py.cli.streams import Console
from cni_bridge_py.node import doctor, networks, probe
from cni_bridge_py.node.answers import Answer, Node, counted
from cni_bridge_py.node.doctor import Asked

MARKS = {
    Answer.YES: ("✓", "green"),
    Answer.NO: ("✗", "bold red"),
    Answer.NOT_APPLICABLE: ("-", "dim"),
    Answer.UNKNOWN: ("?", "yellow"),
}


def run(arguments: argparse.Namespace) -> int:
    """Print the questions and their answers; return the exit status."""
    need_root("examining a node")
    node = Node(networks.configured(arguments.conf), called_as())
    asked = list(doctor.examine(node))
    if arguments.ping:
        asked += probe.try_out(node)
    if arguments.json:
        print(json.dumps(_as_json(asked), indent=2))
    else:
        _show(asked)
    return doctor.exit_status([each.finding for each in asked])


def _show(asked: list[Asked]) -> None:
    console = Console(soft_wrap=not sys.stdout.isatty())
    for each in asked:
        mark, style = MARKS[each.finding.answer]
        line = Text.assemble((mark, style), f" {each.question.text} ", (each.finding.answer.value, style))
        if each.finding.found:
            line.append(f": {each.finding.found}", style="dim")
        console.print(line)
        for trouble in each.finding.troubles:
            console.print(Text(f"    {trouble.found}", style="red"))
            console.print(Text(f"    It means: {trouble.meaning}."))
            for command in trouble.commands:
                console.print(Text(f"    $ {command}", style="bold"), soft_wrap=True)
    wrong = sum(len(each.finding.troubles) for each in asked)
    unknown = sum(each.finding.answer is Answer.UNKNOWN for each in asked)
    if wrong:
        commands = doctor.commands([each.finding for each in asked])
        console.print(Text(f"\n{counted(wrong, 'problem')}. To mend everything:", style="bold red"))
        console.print("\n".join(commands), markup=False, soft_wrap=True)  # not wrapped, so that people can copy them
    elif unknown:
        console.print(
            Text(f"\nNothing wrong was found, but {counted(unknown, 'question')} had no answer.", style="yellow")
        )
    else:
        console.print(Text("\nAll is well.", style="bold green"))


def _as_json(asked: list[Asked]) -> dict[str, object]:
    return {
        "version": __version__,
        "kernel": platform.release(),
        "host": os.uname().nodename,
        "questions": [
            {
                "key": each.question.key,
                "question": each.question.text,
                "answer": each.finding.answer.value,
                "found": each.finding.found,
                "troubles": [
                    {"found": t.found, "meaning": t.meaning, "commands": t.commands} for t in each.finding.troubles
                ],
            }
            for each in asked
        ],
        "commands": doctor.commands([each.finding for each in asked]),
    }
