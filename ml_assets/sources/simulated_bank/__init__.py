"""The simulated bank: a seeded, vectorised source for people without data of their own.

It writes a landing folder in the form of the input contract and, beside it, the truth about planted
launderers for evaluation only. Nothing here is seen by features or models: they see the contract.

==================  =======================================================================
module              rule
==================  =======================================================================
``vocabulary``      the words and their codes
``ledger``          how payments are held, and when people pay
``counterparties``  who else exists: parties that are not clients
``population``      who the clients are
``ordinary_life``   what clients pay and receive in the course of their lives
``lookalikes``      honest behaviour that resembles laundering
``launderers``      who launders, how, when, how strongly and with whom
``patterns``        how money is passed on in rounds
``typologies``      the planted typologies
``schemes``         the planted schemes
``labels``          who was reported, and when
``bank``            assembles all of it and writes the files
==================  =======================================================================
"""

from ml_assets.sources.simulated_bank.bank import simulate

__all__ = ["simulate"]
