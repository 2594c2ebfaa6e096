"""Comments on cases of the work list go to the case that they were typed for."""

import qt
from panel_helpers.saved_case import listed_case
from PartialOrganSegPanel.shell.work_list import chosen_list


def type_comment(user, text):
    qt.QTest.keyClicks(user.ui.commentEdit, text)


def test_comments_are_kept_with_the_case(user):
    user.ui.worklistTable.setCurrentCell(1, 0)
    type_comment(user, "Prothese, Artefakte")
    user.section._commented()  # as when the field is left
    assert [case.comment for case in chosen_list().cases()] == ["", "Prothese, Artefakte"]
    user.ui.worklistTable.setCurrentCell(0, 0)
    assert user.ui.commentEdit.text == ""


def test_a_comment_goes_to_the_case_that_it_was_typed_for(user):
    """Also where the field was not left before: on a Mac a button takes no focus."""
    user.ui.worklistTable.setCurrentCell(0, 0)
    type_comment(user, "artefacts")
    user.ui.worklistTable.setCurrentCell(1, 0)
    assert user.ui.commentEdit.text == ""
    assert [case.comment for case in chosen_list().cases()] == ["artefacts", ""]
    user.section._commented()
    assert [case.comment for case in chosen_list().cases()] == ["artefacts", ""]


def test_a_comment_of_another_window_is_shown_and_not_replaced(user):
    user.ui.worklistTable.setCurrentCell(0, 0)
    user.ui.commentEdit.setFocus()
    chosen_list().change(listed_case().source, comment="from the other window")
    user.section._commented()  # the field is left, without a letter typed
    assert listed_case().comment == "from the other window"
    user.panel.refresh()
    assert user.ui.commentEdit.text == "from the other window"


def test_what_is_being_typed_stays_while_the_list_changes(user):
    user.ui.worklistTable.setCurrentCell(1, 0)
    type_comment(user, "half a")
    chosen_list().remove(listed_case().source)  # the row above goes
    user.panel.refresh()
    assert user.ui.commentEdit.text == "half a"
    type_comment(user, " sentence")
    user.section._commented()
    assert [(case.name, case.comment) for case in chosen_list().cases()] == [("b", "half a sentence")]
