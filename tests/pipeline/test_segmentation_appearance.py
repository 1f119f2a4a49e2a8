"""Colours tell whose a pixel is where scores do not, and a mask that shows two people is evidence for both."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.segmentation.appearance import PARTS, Appearance, Judged, body_parts, shared_out
from pipeline.segmentation.contest import without_things
from pipeline.segmentation.evidence import Crop, Evidence, PersonMask, SeenBody, gather, shows

HEIGHT, WIDTH = 80, 120
CROP = Crop((0, 0, WIDTH, HEIGHT), (WIDTH, HEIGHT))
RED, BLUE, GREY = (200, 40, 40), (40, 40, 200), (120, 130, 110)
PER_METRE = 100.0


def box(x0, x1):
    out = np.zeros((HEIGHT, WIDTH), bool)
    out[10:70, x0:x1] = True
    return out


def judged(own, other, picture, score, nearer=True):
    depth = np.where(own, 3.0, np.inf).astype(np.float32)
    others = np.where(other, 3.3 if nearer else 2.7, np.inf).astype(np.float32)
    evidence = Evidence(CROP, picture, picture, np.zeros((HEIGHT, WIDTH), bool), None, None, depth, others, PER_METRE)
    return Judged(evidence, score.astype(np.float32), np.zeros((HEIGHT, WIDTH), np.uint8), beside=2)


@pytest.fixture
def views():
    """Two views: apart in the first; in the second the front person's coat hangs over, where scores say "behind"."""
    g = np.random.default_rng(0)

    def picture(*painted):
        out = np.full((HEIGHT, WIDTH, 3), GREY, np.int16)
        for where, colour in painted:
            out[where] = colour
        return np.clip(out + g.integers(-12, 12, out.shape), 0, 255).astype(np.uint8)

    a, b = box(10, 40), box(80, 110)
    apart = picture((a, RED), (b, BLUE))
    first = [judged(a, b, apart, 0.95 * a), judged(b, a, apart, 0.95 * b)]
    front, back, coat = box(40, 70), box(62, 100), box(40, 80)
    close = picture((back, BLUE), (coat, RED))
    beyond = coat & ~front
    second = [
        judged(front, back, close, np.where(front, 0.95, np.where(beyond, 0.3, 0))),
        judged(back, front, close, np.where(back & ~front, 0.8, 0), nearer=False),
    ]
    return [first, second], beyond, back & ~coat


def test_a_coat_that_hangs_over_is_its_wearers(views):
    frame, beyond, behind = views
    appearance = Appearance()
    appearance.learn(frame)
    front, back = shared_out(1, frame[1], appearance)
    assert (front > 0.5)[beyond].mean() > 0.9 and (back < 0.5)[beyond].mean() > 0.9
    assert (back > 0.5)[behind].mean() > 0.95 and (front < 0.5)[behind].mean() > 0.95


def test_an_arm_round_another_is_not_the_scenes_though_a_wall_has_its_colour(views):
    """The front one's arm lies over the back one, where no body has it and all scores are the back one's."""
    frame, _, behind = views
    arm = behind & np.pad(np.ones((12, WIDTH), bool), ((30, HEIGHT - 42), (0, 0)))
    wall = box(0, 24)
    for one in frame[1]:
        one.evidence.image[arm | wall] = RED
    appearance = Appearance()
    appearance.learn(frame)
    front, back = shared_out(1, frame[1], appearance)
    assert (front > 0.5)[arm].mean() > 0.9 and (back < 0.5)[arm].mean() > 0.9
    assert (front < 0.5)[wall].mean() > 0.95


def test_nobody_is_overruled_where_people_are_dressed_alike(views):
    frame, beyond, _ = views
    for view in frame:
        for k, one in enumerate(view):
            e = one.evidence
            view[k] = Judged(Evidence(e.crop, np.full_like(e.image, 90), e.background, e.known, None, None, e.depth,
                                      e.others_depth, e.pixels_per_metre), one.score, one.part)  # fmt: skip
    appearance = Appearance()
    appearance.learn(frame)
    front, back = shared_out(1, frame[1], appearance)
    assert (back > front)[beyond].all()  # as the scores had it


def test_a_thing_in_front_is_nobodys_though_the_detector_takes_it_for_the_person():
    g = np.random.default_rng(0)
    body, pillar = box(30, 90), box(50, 65)

    def view(*things):
        picture = np.full((HEIGHT, WIDTH, 3), GREY, np.int16)
        picture[body] = RED
        for where in things:
            picture[where] = (90, 160, 60)
        picture = np.clip(picture + g.integers(-12, 12, picture.shape), 0, 255).astype(np.uint8)
        return [judged(body, np.zeros_like(body), picture, 0.95 * body)]

    frame = [view(), view(), view(pillar)]
    appearance = Appearance()
    appearance.learn(frame)
    whole, behind = (shared_out(c, frame[c], appearance)[0] for c in (0, 2))
    assert (whole > 0.5)[body].mean() > 0.98
    assert (behind < 0.5)[pillar].mean() > 0.9 and (behind > 0.5)[body & ~pillar].mean() > 0.95
    frame[2][0].beside = 1  # that side of the person may look like that
    assert (shared_out(2, frame[2], appearance)[0] > 0.5)[pillar].all()
    frame[2][0].beside, known = 2, frame[2][0].evidence.known
    known[:] = True  # the empty scene shows what stands there: what judged with it is not overruled
    assert (shared_out(2, frame[2], appearance)[0] > 0.5)[pillar].all()


def test_a_hand_before_the_body_is_no_thing_though_the_fit_has_it_some_way_off():
    """The body's arm hangs beside the hand that is seen; what has the hand's colour elsewhere is a thing."""
    g = np.random.default_rng(0)
    body, arm, floor = box(24, 100), box(94, 100), box(0, 10)
    part = np.where(arm, PARTS.index("lower arms"), PARTS.index("torso")).astype(np.uint8)
    tanned = (190, 140, 100)

    def view(bare):
        picture = np.full((HEIGHT, WIDTH, 3), GREY, np.int16)
        picture[body] = RED
        picture[bare | floor] = tanned
        picture = np.clip(picture + g.integers(-12, 12, picture.shape), 0, 255).astype(np.uint8)
        return [replace(judged(body, np.zeros_like(body), picture, 0.95 * body), part=part)]

    for seen, whose in ((box(82, 93), 1.0), (box(40, 51), 0.0)):
        frame = [view(arm), view(arm), view(seen)]
        appearance = Appearance()
        appearance.learn(frame)
        found = shared_out(2, frame[2], appearance)[0] > 0.5
        assert abs(found[seen].mean() - whose) < 0.1 and found[body & ~seen & ~arm].mean() > 0.95


def test_a_camera_of_other_colours_tells_no_things():
    body, frame = box(30, 90), []
    for colour in (RED, RED, BLUE):
        picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
        picture[body] = colour
        frame.append([judged(body, np.zeros_like(body), picture, 0.95 * body)])
    appearance = Appearance()
    appearance.learn(frame)
    assert (shared_out(2, frame[2], appearance)[0] > 0.5)[body].mean() > 0.95


def test_parts_of_the_body_are_told_apart(open_body_arrays):
    faces, weights = open_body_arrays["f"], open_body_arrays["weights"]
    parts = body_parts(np.asarray(weights), np.asarray(faces).astype(int))
    height = np.asarray(open_body_arrays["v_template"])[np.asarray(faces).astype(int)].mean(1)[:, 1]
    middles = [np.median(height[parts == k]) for k in range(len(PARTS))]
    order = ("head", "torso", "upper legs", "lower legs", "feet")
    falling = [middles[PARTS.index(name)] for name in order]
    assert falling == sorted(falling, reverse=True) and (np.bincount(parts, minlength=len(PARTS)) > 100).all()


@pytest.fixture(scope="module")
def open_body_arrays():
    from data.body_models import load_body_arrays, open_body_model

    return load_body_arrays(open_body_model())


def test_who_is_out_of_view_has_no_score(views):
    frame, _, _ = views
    appearance = Appearance()
    appearance.learn(frame)
    alone, nobody = shared_out(0, [frame[0][0], None], appearance)
    assert nobody is None and np.array_equal(alone > 0.5, frame[0][0].score > 0.5)


def seen(mask):
    return SeenBody(CROP, np.where(mask, 3.0, np.inf).astype(np.float32), PER_METRE)


def detected(mask):
    return PersonMask((mask * 255).astype(np.uint8), np.array([0, 0, WIDTH, HEIGHT]))


def test_a_mask_of_two_people_is_evidence_for_both():
    front, back = box(40, 70), box(50, 90)
    union, bodies = detected(front | back), [seen(front), seen(back)]
    assert shows(union, bodies[0], bodies[1]) and not shows(detected(front), bodies[0], bodies[1])
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    behind = gather(1, bodies, [union, None], [], image, None)
    assert behind.others is None and (behind.detector > 0.5)[back].all()
    apart = gather(1, bodies, [detected(front), None], [], image, None)
    assert apart.detector is None and (apart.others > 0.5)[front].all()


def test_of_people_alone_a_detector_that_sees_nothing_of_them_is_believed():
    """The body is there, behind a thing of the person's own colour: only the detector tells."""
    whole, hidden = box(20, 60), box(45, 60)
    picture = np.where(whole[..., None], np.array(RED, np.uint8), np.array(GREY, np.uint8))
    one = judged(whole, np.zeros_like(whole), picture, np.where(hidden, 0.75, 0.95 * whole))
    seen = replace(one.evidence, detector=(0.95 * (whole & ~hidden)).astype(np.float32))
    without, told = (Judged(e, one.score, one.part, beside=2) for e in (one.evidence, seen))
    for view, stays in ((without, True), (told, False)):
        appearance = Appearance()
        appearance.learn([[view], [view]])
        (score,) = shared_out(0, [view], appearance)
        assert (score > 0.5)[hidden].all() == stays
        assert (score > 0.5)[whole & ~hidden].all()


@pytest.mark.parametrize(("start", "believed"), [(95, True), (58, False)])
def test_beside_others_it_is_believed_where_they_are_some_way_off(start, believed):
    """As before, with another person in the view, and a wall of the person's colour behind."""
    whole, hidden, other = box(10, 50), box(35, 50), box(start, start + 20)
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    picture[:, 55:] = RED
    picture[whole], picture[other] = RED, BLUE
    one = judged(whole, other, picture, np.where(hidden, 0.65, 0.95 * whole))
    seen = replace(one.evidence, detector=(0.95 * (whole & ~hidden)).astype(np.float32))
    view = [Judged(seen, one.score, one.part, beside=2), judged(other, whole, picture, 0.95 * other)]
    appearance = Appearance()
    appearance.learn([view, view])
    score = shared_out(0, view, appearance)[0]
    assert (score > 0.5)[whole & ~hidden].all() and (score[hidden] < 0.5).mean() == believed


def left_out(missed, other=None):
    """A person's score where the detector leaves ``missed`` out of them, others' body ``other`` in view."""
    body = box(30, 90)
    one = judged(body, np.zeros_like(body) if other is None else other, np.zeros((HEIGHT, WIDTH, 3), np.uint8), body)
    evidence = replace(one.evidence, detector=(0.9 * (body & ~missed)).astype(np.float32))
    return without_things(0.9 * body, evidence) > 0.5, body


def test_what_a_detector_leaves_out_of_a_person_is_a_thing():
    patch = np.zeros((HEIGHT, WIDTH), bool)
    patch[40:70, 30:60] = True
    score, body = left_out(patch)
    assert not score[44:66, 34:56].any() and score[body & ~patch].all()


@pytest.mark.parametrize("missed, other", [
    (box(88, 90), None),  # no wider than the slack of a fit
    (box(30, 75), None),  # the detector has hardly found the person
    (box(30, 50), box(85, 110)),  # others are near, of whom detectors make a muddle
])  # fmt: skip
def test_where_a_detector_cannot_be_relied_on_nothing_is_taken_away(missed, other):
    score, body = left_out(missed, other)
    assert np.array_equal(score, body)
