"""Names of simulated students, Japanese and English, as a dashboard has to show them."""

from __future__ import annotations

from random import Random
from typing import Final

__all__ = ["student_names"]

_FAMILY: Final = [
    "佐藤",
    "鈴木",
    "高橋",
    "田中",
    "伊藤",
    "渡辺",
    "山本",
    "中村",
    "小林",
    "加藤",
    "吉田",
    "山田",
    "佐々木",
    "山口",
    "松本",
    "井上",
    "木村",
    "林",
    "斎藤",
    "清水",
    "山崎",
    "森",
    "池田",
    "橋本",
    "阿部",
]
_GIVEN: Final = [
    "葵",
    "陽菜",
    "凛",
    "結衣",
    "咲良",
    "美月",
    "花",
    "蓮",
    "湊",
    "陽翔",
    "律",
    "大和",
    "悠真",
    "翔",
    "健太",
    "直樹",
    "彩",
    "優斗",
    "千尋",
    "楓",
    "空",
    "海斗",
    "真央",
    "遥",
    "拓海",
]
_FIRST: Final = [
    "Olivia",
    "Noah",
    "Amelia",
    "Liam",
    "Grace",
    "Ethan",
    "Chloe",
    "Lucas",
    "Maya",
    "Daniel",
    "Hannah",
    "Samuel",
    "Zoe",
    "Adam",
    "Priya",
    "Omar",
    "Elena",
    "Victor",
]
_LAST: Final = [
    "Smith",
    "Jones",
    "Taylor",
    "Brown",
    "Wilson",
    "Clarke",
    "Walker",
    "Hughes",
    "Patel",
    "Nguyen",
    "Kim",
    "Garcia",
    "Novak",
    "Rossi",
    "Larsen",
]


def student_names(count: int, seed: int) -> list[str]:
    """Return ``count`` display names, two thirds of them Japanese; the same seed gives the same names.

    All are different while the lists suffice; a class of several hundred has duplicates.
    """
    random = Random(f"names {seed}")  # noqa: S311
    names: list[str] = []
    for _ in range(count):
        for _ in range(20):
            if random.random() < 2 / 3:
                name = f"{random.choice(_FAMILY)} {random.choice(_GIVEN)}"
            else:
                name = f"{random.choice(_FIRST)} {random.choice(_LAST)}"
            if name not in names:
                break
        names.append(name)
    return names
