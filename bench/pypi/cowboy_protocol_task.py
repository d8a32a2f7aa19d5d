"""cowboy-protocol-py: the codec of a ledger's transactions, in Rust. Hashes, signs and encodes one."""

import json

import cowboy_protocol

TRANSACTION = {
    "chain_id": 42,
    "nonce": 0,
    "instruction": {"System": {"CreateAccount": {"account": "0x0000000000000000000000000000000000001111"}}},
    "cycles_limit": 50000,
    "cells_limit": 50000,
    "access_limit": 512,
    "max_fee_per_cycle": 1,
    "max_fee_per_cell": 1,
    "max_fee_per_access": "1",
    "max_priority_fee_per_cycle": 0,
    "max_priority_fee_per_cell": 0,
    "max_priority_fee_per_access": "0",
    "from": "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1",
    "access_list": None,
    "signature": {"r": [0] * 32, "s": [0] * 32, "v": 0},
    "additional_signers": [],
    "origin_tx_hash": None,
    "origin_remaining_cycles": None,
    "origin_remaining_cells": None,
    "origin_remaining_access": None,
    "metadata": [],
}

key, text = bytes([1]) * 32, json.dumps(TRANSACTION)
print(cowboy_protocol.address_from_private_key(key))
print(cowboy_protocol.sign(cowboy_protocol.signing_hash(text), key).hex())
signed = cowboy_protocol.sign_transaction(text, key)
print(signed, cowboy_protocol.encode_submission(signed).hex())
try:
    cowboy_protocol.signing_hash("{")
except cowboy_protocol.CowboyProtocolError as error:
    print(error)
