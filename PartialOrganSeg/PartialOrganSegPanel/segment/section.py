"""Section Segment: choose a CT, a model and organs, run, look at the result."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..scene.abdomen_window import set_abdomen_window
from ..scene.segmentation_result import ResultError, show_3d
from ..scene.shown_ct import possible_cts, shown_ct
from ..shell.chosen_model import choose_model
from ..shell.model_cards import installed_models
from ..shell.progress import ProgressStrip
from ..shell.section import Section, offer
from .computing import Computing, chosen_organs, elsewhere, offered_organs
from .course import Course


class SegmentSection(Section):
    """The button *Segment* turns into *Cancel* while it works."""

    NAME = "Segment"

    def setup(self) -> None:
        self._open = False
        self._volumes: set[str] = set()  # IDs of the CTs from which one was chosen for the user, or could have been
        self._models = installed_models()
        self._listed: tuple[str, ...] = ()
        self._computing = Computing(self.panel, self.ui)
        # a moment later: who loads a CT gives it its voxels and its window after it has joined the scene
        self._window_timer = qt.QTimer(self.widget)
        self._window_timer.setSingleShot(True)
        self._window_timer.setInterval(0)
        self._window_timer.connect("timeout()", self._set_window)
        self.strip = ProgressStrip(self.ui.progressWidget, self.panel.services.dialogs)
        self._course = Course(self.panel, self.strip, lambda: self._models)
        self.ui.segmentButton.connect("clicked()", self._segment_or_cancel)
        self.ui.drawButton.connect("clicked()", self.panel.draw_strokes)
        self.ui.show3dButton.connect("clicked(bool)", self._show_3d)
        self.ui.organList.connect("itemChanged(QListWidgetItem*)", self._organs_ticked)
        self.ui.modelBox.connect("activated(int)", self._model_chosen)

    def bound(self) -> None:
        if not self._course.working:  # a run outlives the import of a scene
            self.strip.clear()
        self.models_changed()

    def models_changed(self) -> None:
        self._models = installed_models()
        self.ui.modelBox.clear()
        for name in self._models:
            self.ui.modelBox.addItem(name)
        if self.panel.parameters.segment.model not in self._models and self._models:
            self.panel.parameters.segment.model = next(iter(self._models))

    def entered(self) -> None:
        self._open = True
        self._volumes = set()
        self.refresh()

    def left(self) -> None:
        self._open = False

    def refresh(self) -> None:
        self._choose_shown_ct()
        parameters = self.panel.parameters
        settings = parameters.segment
        working = self._course.working
        self.ui.modelBox.setCurrentText(settings.model)
        card = self._models.get(settings.model)
        self.ui.modelBox.toolTip = _("No model is installed")
        if card is not None:
            self.ui.modelBox.toolTip = f"{card.description}\n{card.licence}"
        self._list_organs()
        self.ui.organList.setVisible(settings.someOrgans)
        for name in ("inputSelector", "someOrgansBox", "organList", "earlierBox"):
            getattr(self.ui, name).enabled = not working
        self._computing.refresh(working)
        if working:
            self.ui.segmentButton.text = _("Cancel")
            offer(self.ui.segmentButton, "", _("Ends the run and leaves the scene as it was"))
        else:
            self.ui.segmentButton.text = _("Segment")
            offer(self.ui.segmentButton, self._why_not(), _("Segments the CT in the background"))
        offer(self.ui.drawButton, self._why_no_ct(),
              _("Begins to draw what the model shall learn; no segmentation is needed"))
        self._offer_3d()

    def _why_not(self) -> str:
        """Why nothing can be segmented now; empty when it can."""
        parameters = self.panel.parameters
        why = self.panel.busy or self._why_no_ct()
        if why:
            return why
        if parameters.segment.model not in self._models and not elsewhere(parameters.segment):
            return _("No model is installed.")
        if parameters.segment.someOrgans and not chosen_organs(parameters.segment, self._models):
            return _("Tick at least one organ.")
        return ""

    def _why_no_ct(self) -> str:
        """Why there is no CT to work on; empty when there is one."""
        volume = self.panel.parameters.inputVolume
        if volume is None:
            return _("Choose a CT first.")
        if volume.GetImageData() is None or min(volume.GetImageData().GetDimensions()) < 2:
            return _("The chosen volume has no voxels, or only one slice.")
        return ""

    def _choose_shown_ct(self) -> None:
        """Takes the CT that the user looks at where none is chosen: when the module is opened and when a CT is loaded,
        but not against a user who chose none."""
        volumes = set(possible_cts())  # a volume joins the scene before it has voxels
        new, self._volumes = volumes - self._volumes, volumes
        parameters = self.panel.parameters
        if self._open and new and parameters.inputVolume is None:
            parameters.inputVolume = shown_ct()
        if self._open and parameters.inputVolume is not None:
            self._window_timer.start()

    def _set_window(self) -> None:
        if self.panel.parameters is not None and self.panel.parameters.inputVolume is not None:
            set_abdomen_window(self.panel.parameters.inputVolume)

    # --- organs and models

    def _list_organs(self) -> None:
        """Fills the list with the model's organs, ticked as the parameters say."""
        organs, listing = offered_organs(self.panel.parameters.segment, self._models), self.ui.organList
        # a tick set here is not the user's
        listing.blockSignals(True)
        if self._listed != tuple(organ.name for organ in organs):
            self._listed = tuple(organ.name for organ in organs)
            listing.clear()
            for organ in organs:
                item = qt.QListWidgetItem(organ.title)
                item.setData(qt.Qt.UserRole, organ.name)
                item.setData(qt.Qt.DecorationRole, qt.QColor(*organ.colour))
                listing.addItem(item)
        ticked = self.panel.parameters.segment.organs
        for index, name in enumerate(self._listed):
            listing.item(index).setCheckState(qt.Qt.Checked if name in ticked else qt.Qt.Unchecked)
        listing.blockSignals(False)

    def _organs_ticked(self, _item: qt.QListWidgetItem) -> None:
        items = [self.ui.organList.item(index) for index in range(len(self._listed))]
        self.panel.parameters.segment.organs = [item.data(qt.Qt.UserRole) for item in items
                                                if item.checkState() == qt.Qt.Checked]

    def _model_chosen(self, index: int) -> None:
        choose_model(self.panel.parameters, self.ui.modelBox.itemText(index))

    # --- the run

    def _segment_or_cancel(self) -> None:
        if self._course.working:
            self._course.cancel()
        else:
            self._course.begin()

    def nodes_removed(self) -> None:
        self._course.nodes_removed()

    def closing(self) -> None:
        self._course.closing()

    # --- the surfaces

    def _offer_3d(self) -> None:
        result = self.panel.parameters.segmentation
        reason, surfaces = "", False
        if result is None:
            reason = _("There is no segmentation yet.")
        else:
            # a segmentation is visible in 3D by default, which shows nothing until there are surfaces
            display = result.GetDisplayNode()
            surfaces = (display is not None and bool(display.GetVisibility3D())
                        and result.GetSegmentation().ContainsRepresentation("Closed surface"))
        offer(self.ui.show3dButton, reason, _("Shows the organs as surfaces in the 3D views"))
        self.ui.show3dButton.checked = surfaces

    def _show_3d(self, on: bool) -> None:
        before = self.strip.text.text
        self.strip.say(_("Making the surfaces ..."))
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)  # Slicer makes all surfaces in one go
        slicer.app.processEvents()
        try:
            show_3d(self.panel.parameters.segmentation, on)
            self.strip.say(before)
        except ResultError as error:
            self.strip.say(str(error))
        finally:
            slicer.app.restoreOverrideCursor()
        self.panel.refresh()
