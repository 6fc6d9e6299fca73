"""Blocks of shared memory: used again once nobody looks at them, never before."""

import gc

import torch

from vexp.data.batch.shared_memory import MOST, SharedMemoryPool, received


def test_a_block_is_used_again_when_nobody_looks_at_it():
    slots = SharedMemoryPool()
    block = slots.take(100)
    content = received(block, 100)
    content.fill_(5)
    assert slots.take(100).data_ptr() != block.data_ptr()  # it is looked at
    view = content.view(10, 10)[3:]
    del content
    gc.collect()
    assert slots.take(100).data_ptr() != block.data_ptr()  # and so is a part of it
    assert torch.all(view == 5)
    del view
    gc.collect()
    assert slots.take(100).data_ptr() == block.data_ptr()


def test_a_smaller_content_fits_a_larger_block_and_a_larger_one_replaces_it():
    slots = SharedMemoryPool()
    block = slots.take(100)
    received(block, 100)  # seen and gone
    again = slots.take(30)
    assert again.data_ptr() == block.data_ptr()
    content = received(again, 30)
    assert len(content) == 30
    del content
    gc.collect()
    larger = slots.take(5000)
    assert len(larger) > 5000
    received(larger, 5000)
    assert slots.take(100).data_ptr() == larger.data_ptr()  # the small one made room


def test_a_main_process_that_keeps_everything_gets_fresh_blocks():
    slots = SharedMemoryPool()
    kept = [received(slots.take(64), 64).fill_(number) for number in range(3 * MOST)]
    assert [int(content[0]) for content in kept] == list(range(3 * MOST))
    assert len({content.data_ptr() for content in kept}) == 3 * MOST


def test_blocks_are_shared_memory():
    assert SharedMemoryPool().take(10).is_shared()
