import threading
import time

import pytest

from outskirts.serving.options import Waits
from outskirts.serving.uploads import Upload
from outskirts.serving.waiting import Full, Waiting, WaitingImage


def image(guard="a", top=1, **more):
    return WaitingImage(guard, Upload("x", b""), top, **more)


def test_batches_are_in_the_order_of_arrival_and_not_too_large():
    waiting = Waiting(Waits(batch=3, seconds=0, queue=9))
    images = [image() for _ in range(7)]
    waiting.add(images)
    assert [waiting.take() for _ in range(3)] == [images[:3], images[3:6], images[6:]]


def test_images_of_other_guards_or_options_are_in_other_batches():
    waiting = Waiting(Waits(batch=8, seconds=0, queue=9))
    first, other, more, again = image(), image("b"), image(top=2), image()
    waiting.add([first, other, more, again])
    assert [waiting.take() for _ in range(3)] == [[first, again], [other], [more]]


def test_all_or_none_of_a_request_waits():
    waiting = Waiting(Waits(batch=2, seconds=0, queue=3))
    waiting.add([image(), image()])
    with pytest.raises(Full) as full:
        waiting.add([image(), image()])
    assert len(waiting) == 2 and full.value.seconds == 1
    waiting.add([image()])


def test_the_time_to_come_again_is_that_of_the_images_before():
    waiting = Waiting(Waits(batch=2, seconds=0, queue=40))
    waiting.done(10, 1.0)
    waiting.add([image() for _ in range(40)])
    with pytest.raises(Full) as full:
        waiting.add([image()])
    assert full.value.seconds == 4


def test_who_has_given_up_is_in_no_batch():
    waiting = Waiting(Waits(batch=4, seconds=0, queue=9))
    images = [image() for _ in range(3)]
    waiting.add(images)
    images[1].answer.cancel()
    assert waiting.take() == [images[0], images[2]]


def test_a_batch_waits_for_images_on_their_way_and_no_longer_than_it_may():
    waiting = Waiting(Waits(batch=2, seconds=5, queue=9))
    first, second = image(), image()
    waiting.coming(1)
    waiting.add([first])

    def arrive():
        time.sleep(0.1)
        waiting.add([second])
        waiting.coming(-1)

    thread = threading.Thread(target=arrive)
    thread.start()
    assert waiting.take() == [first, second]
    thread.join()
    waiting.add([first])
    start = time.monotonic()
    assert waiting.take() == [first], "nothing else is on its way"
    assert time.monotonic() - start < 4


def test_an_image_that_may_end_a_process_is_alone():
    waiting = Waiting(Waits(batch=4, seconds=0, queue=9))
    first, odd, last = image(), image(alone=True), image()
    waiting.add([first, odd, last])
    assert [waiting.take() for _ in range(2)] == [[first, last], [odd]]


def test_nothing_is_taken_where_nothing_waits():
    assert Waiting(Waits()).take() == []
