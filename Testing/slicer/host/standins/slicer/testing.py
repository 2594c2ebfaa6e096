def runUnitTest(path, testname):
    import sys
    import unittest

    sys.path.extend([path] if isinstance(path, str) else path)
    result = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromName(testname))
    if not result.wasSuccessful():
        raise Exception(f"{testname} failed")
