"""Bytes of messages, counted by hand."""

from __future__ import annotations

import numpy as np
from parity.runs import gradients_message

from hmdc_ray.exchange.messages import Features
from hmdc_ray.profiling.traffic import Traffic, array_bytes


def test_a_message_counts_once_for_each_receiver_and_not_for_its_maker() -> None:
    traffic, message = Traffic(), Features(0, (np.zeros(3), np.zeros((2, 2), np.float32)))
    traffic.made("server", (message, 1))
    for process in ("worker a", "worker a", "worker b", "server"):
        traffic.received(process, "match", (7, message, None))
    assert traffic.take() == {("worker a", "match"): 40, ("worker b", "match"): 40}
    assert traffic.take() == {}


def test_a_new_message_counts_although_it_may_have_the_place_of_an_old_one() -> None:
    traffic = Traffic()
    for _ in range(50):
        traffic.received("server", "consensus", (Features(0, (np.zeros(1),)),))
    assert traffic.take() == {("server", "consensus"): 50 * 8}


def test_bytes_are_those_of_arrays_only() -> None:
    assert array_bytes(gradients_message((0, 1), np.zeros((2, 1, 1, 2, 2)))) == 64 + 3 * 2 * 8
    assert array_bytes({"a": [np.zeros(2, np.uint8)], "b": "text"}) == 2
