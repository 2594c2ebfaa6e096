"""What the tests of the panel share. `conftest.py` puts the folder above this one on `sys.path`, so that every test, in
whatever folder and import mode, writes `from panel_helpers.scenes import add_ct`.

    doubles          process, installer and dialogs that do what a test says, in place of the real ones
    scenes           CTs, results and transforms in the scene
    pictures         pictures of windows and views, and what is on them
    start_models     small models to start from
    section_user     a section with a user and a command; segment_bench and finetune_course are two of these
    review_desk      section Review with a segmented CT
    scribble_desk    section Scribble with a CT
"""
