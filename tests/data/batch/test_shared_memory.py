"""Shared memory blocks are reused when they are released, and not before."""

import gc

import torch

from vexp.data.batch.shared_memory import MAX_BLOCKS, SharedMemoryPool, received


def test_pool_reuses_released_block():
    pool = SharedMemoryPool()
    block = pool.take(100)
    content = received(block, 100)
    content.fill_(5)
    assert pool.take(100).data_ptr() != block.data_ptr()  # still referenced
    view = content.view(10, 10)[3:]
    del content
    gc.collect()
    assert pool.take(100).data_ptr() != block.data_ptr()  # referenced by a view
    assert torch.all(view == 5)
    del view
    gc.collect()
    assert pool.take(100).data_ptr() == block.data_ptr()


def test_pool_reuses_larger_block_and_replaces_smaller_one():
    pool = SharedMemoryPool()
    block = pool.take(100)
    received(block, 100)  # received and released
    again = pool.take(30)
    assert again.data_ptr() == block.data_ptr()
    content = received(again, 30)
    assert len(content) == 30
    del content
    gc.collect()
    larger = pool.take(5000)
    assert len(larger) > 5000
    received(larger, 5000)
    assert pool.take(100).data_ptr() == larger.data_ptr()  # it replaced the small one


def test_pool_allocates_blocks_while_all_are_referenced():
    pool = SharedMemoryPool()
    kept = [received(pool.take(64), 64).fill_(number) for number in range(3 * MAX_BLOCKS)]
    assert [int(content[0]) for content in kept] == list(range(3 * MAX_BLOCKS))
    assert len({content.data_ptr() for content in kept}) == 3 * MAX_BLOCKS


def test_pool_blocks_are_shared():
    assert SharedMemoryPool().take(10).is_shared()
