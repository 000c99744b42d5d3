from hmdc_ray.pretrain.worker import Board


def test_the_board_brings_epochs_to_the_driver_and_its_request_to_the_workers() -> None:
    board = Board()
    assert board.look(False) is None
    assert not board.epoch_done("mlp", 1, 3)
    assert board.look(True) == ("mlp", 1, 3)
    assert board.look(False) == ("mlp", 1, 3)  # a request stays
    assert board.epoch_done("mlp", 2, 3)
