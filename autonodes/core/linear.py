"""The one door to the LP solver.

A program is minimized; its rows are given when it is made, columns come in batches. It stays in the solver between
two solutions, so that a few more columns, another cost or another demand cost a few steps of the simplex method and
not a new start. One thread and no clock: the same program always gives the same solution.

The solver and numpy are loaded with the first program: a controller that only ever takes the greedy answer doesn't
carry their 30 MB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autonodes.core.errors import EnvironmentFault


@dataclass(frozen=True, slots=True)
class Column:
    """:param entries: coefficient by row
    :param most: upper bound; the lower one is 0
    """

    cost: float
    entries: Mapping[int, float]
    most: float = math.inf


@dataclass(frozen=True, slots=True)
class Solution:
    """:param amounts: of each column
    :param prices: of each row: how much the value rises with its bound
    """

    value: float
    amounts: Sequence[float]
    prices: Sequence[float]


class LinearProgram:
    """:param rows: the bounds of each row's sum"""

    def __init__(self, rows: Sequence[tuple[float, float]]) -> None:
        import highspy  # here and not above: see the module's docstring
        import numpy

        self._numpy, self._solver = numpy, highspy.Highs()  # type: ignore[no-untyped-call]
        self._solver.setOptionValue("output_flag", False)
        self._solver.setOptionValue("threads", 1)
        self._optimal = highspy.HighsModelStatus.kOptimal
        self._columns = 0
        lower, upper = (numpy.array(bounds, dtype=float) for bounds in zip(*rows, strict=True))
        none = numpy.zeros(0, dtype=numpy.int32)
        starts = numpy.zeros(len(rows), dtype=numpy.int32)
        self._solver.addRows(len(rows), lower, upper, 0, starts, none, none.astype(float))

    def add(self, columns: Sequence[Column]) -> None:
        """Append columns."""
        array, number = self._numpy.array, self._numpy.int32
        starts, indices, values = [0], list[int](), list[float]()
        for column in columns:
            indices.extend(column.entries)
            values.extend(column.entries.values())
            starts.append(len(indices))
        self._solver.addCols(
            len(columns),
            array([column.cost for column in columns], dtype=float),
            self._numpy.zeros(len(columns)),
            array([column.most for column in columns], dtype=float),
            len(indices),
            array(starts[:-1], dtype=number),
            array(indices, dtype=number),
            array(values, dtype=float),
        )
        self._columns += len(columns)

    def set_costs(self, costs: Sequence[float]) -> None:
        """New costs for all columns."""
        indices = self._numpy.arange(self._columns, dtype=self._numpy.int32)
        self._solver.changeColsCost(self._columns, indices, self._numpy.array(costs, dtype=float))

    def set_least(self, row: int, least: float) -> None:
        """A new lower bound for a row that has no upper one."""
        self._solver.changeRowBounds(row, least, math.inf)

    def solve(self) -> Solution:
        """
        :raises EnvironmentFault: the solver has found no optimum, though there is one
        """
        self._solver.run()
        status = self._solver.getModelStatus()
        if status != self._optimal:
            raise EnvironmentFault(
                f"the LP solver stopped with {self._solver.modelStatusToString(status)}",
                "plan without improvement and bound, or install another version of highspy",
            )
        found = self._solver.getSolution()
        value = self._solver.getInfo().objective_function_value
        return Solution(value, list(found.col_value), list(found.row_dual))
