"""Contracts of Python-made tables: columns, types, units, ranges and grain, said once.

Rule of this room: a contract is declared here (or beside the one function that fulfils it, for
feature tables) and everything else follows from it: Arrow schema, checks and documentation. Nothing here
knows Dagster or DuckDB.
"""

from ml_assets.contracts.table import Column, ContractError, TableContract

__all__ = ["Column", "ContractError", "TableContract"]
