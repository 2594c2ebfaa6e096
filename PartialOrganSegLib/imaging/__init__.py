"""The ground floor: volumes on grids, resampling, the body, surfaces. No files; torch where voxels are resampled."""
