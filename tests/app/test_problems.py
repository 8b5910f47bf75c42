"""Problems as they are raised: what is wrong, and at which place of the request."""

from app.problems import Problem, Unprocessable, all_problems


def test_a_wrong_thing_in_the_body_is_told_with_a_pointer_to_it() -> None:
    problem = Unprocessable.at("No label is there.", pointer="/slices/0")
    assert problem.detail == "No label is there."
    assert problem.members == {"errors": [{"pointer": "/slices/0", "message": "No label is there."}]}


def test_the_place_may_have_a_shorter_message_than_the_detail() -> None:
    problem = Unprocessable.at("The vector is cut short. Send base64url.", parameter="vector", message="is cut short")
    assert problem.detail == "The vector is cut short. Send base64url."
    assert problem.members == {"errors": [{"parameter": "vector", "message": "is cut short"}]}


def test_every_problem_has_a_page_of_its_own() -> None:
    kinds = all_problems()
    assert Problem not in kinds
    assert Unprocessable in kinds
    slugs = [kind.slug for kind in kinds]
    assert len(slugs) == len(set(slugs))
